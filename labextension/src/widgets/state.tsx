/** A state as everybody sees it: shape and colour. The word stands beside it, in the colour of text. */

import React from 'react';

import { ILook } from '../words';

export function StateIcon(props: { look: ILook }): JSX.Element {
  const { icon, role } = props.look;
  return <icon.react tag="span" className={`jp-bai-State jp-bai-State-${role}`} aria-hidden="true" />;
}
