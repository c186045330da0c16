/** Comma-separated values, as spreadsheets write them. Pure. */

export interface IRecord {
  /** Where it begins in the file, from 1. */
  line: number;
  cells: string[];
}

/** Quotes that do not end, or end within a value: what was meant as several values may be one. */
export class QuoteError extends Error {
  /** `line` is where the record begins. */
  constructor(readonly line: number) {
    super(`line ${line}: quotes`);
  }
}

/** With commas, or with what else the first line has: semicolons or tabs. What is in quotes may have any of them. Throws `QuoteError`. */
export function readCsv(text: string): IRecord[] {
  const content = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
  const head = content.split('\n', 1)[0];
  const mark = [',', ';', '\t'].find(one => head.includes(one)) ?? ',';
  const records: IRecord[] = [];
  let [line, begin, cell, isQuoted, wasQuoted] = [1, 1, '', false, false];
  let cells: string[] = [];
  const end = () => {
    cells.push(cell.trim());
    if (cells.some(Boolean)) {
      records.push({ line: begin, cells });
    }
    [cell, cells, begin, wasQuoted] = ['', [], line, false];
  };
  for (let place = 0; place < content.length; place += 1) {
    const one = content[place];
    line += one === '\n' ? 1 : 0;
    if (one === '"' && isQuoted && content[place + 1] === '"') {
      cell += '"';
      place += 1;
    } else if (one === '"' && (isQuoted || (cell.trim() === '' && !wasQuoted))) {
      [isQuoted, wasQuoted] = [!isQuoted, isQuoted];
    } else if (isQuoted || (one !== mark && one !== '\n')) {
      if (wasQuoted && one.trim() !== '') {
        throw new QuoteError(begin);
      }
      cell += one;
    } else if (one === mark) {
      cells.push(cell.trim());
      [cell, wasQuoted] = ['', false];
    } else {
      end();
    }
  }
  if (isQuoted) {
    throw new QuoteError(begin);
  }
  end();
  return records;
}
