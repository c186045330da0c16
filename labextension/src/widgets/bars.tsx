/** A small chart. Its figures are beside it, for who does not see it. */

import React from 'react';

const [BAR, GAP] = [12, 3];

interface IBarsProps {
  heights: number[];
  tall?: number;
  /** Which one is marked. */
  cursor?: number | null;
}

/** One bar each, the highest as tall as the chart. */
export function Bars({ heights, tall = 28, cursor = null }: IBarsProps): JSX.Element {
  const most = Math.max(...heights, Number.MIN_VALUE);
  const wide = heights.length * (BAR + GAP) - GAP;
  return (
    <svg
      className="jp-bai-Bars"
      width={wide}
      height={tall + 1}
      viewBox={`0 0 ${wide} ${tall + 1}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      {heights.map((height, place) => {
        const high = height > 0 ? Math.max(1, (tall * height) / most) : 0;
        return <rect key={place} x={place * (BAR + GAP)} y={tall - high} width={BAR} height={high} />;
      })}
      {cursor !== null && (
        <rect className="jp-bai-Bars-cursor" x={cursor * (BAR + GAP) - GAP / 2} y={0} width={BAR + GAP} height={tall} />
      )}
      <path d={`M0 ${tall + 0.5}H${wide}`} />
    </svg>
  );
}
