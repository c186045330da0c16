/** Comma-separated values, as spreadsheets write them. Pure. */

export interface IRecord {
  /** Where it begins in the file, from 1. */
  line: number;
  cells: string[];
}

/** With commas, or with what else the first line has: semicolons or tabs. What is in quotes may have any of them. */
export function readCsv(text: string): IRecord[] {
  const content = text.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n');
  const head = content.split('\n', 1)[0];
  const mark = [',', ';', '\t'].find(one => head.includes(one)) ?? ',';
  const records: IRecord[] = [];
  let [line, begin, cell, isQuoted] = [1, 1, '', false];
  let cells: string[] = [];
  const end = () => {
    cells.push(cell.trim());
    if (cells.some(Boolean)) {
      records.push({ line: begin, cells });
    }
    [cell, cells, begin] = ['', [], line];
  };
  for (let place = 0; place < content.length; place += 1) {
    const one = content[place];
    line += one === '\n' ? 1 : 0;
    if (one === '"' && isQuoted && content[place + 1] === '"') {
      cell += '"';
      place += 1;
    } else if (one === '"' && (isQuoted || cell.trim() === '')) {
      isQuoted = !isQuoted;
    } else if (isQuoted || (one !== mark && one !== '\n')) {
      cell += one;
    } else if (one === mark) {
      cells.push(cell.trim());
      cell = '';
    } else {
      end();
    }
  }
  end();
  return records;
}
