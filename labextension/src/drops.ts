/** Files and directories that somebody drops or chooses, as files with paths. Knows no widgets. */

export interface IArrival {
  /** Below the place that they were dropped at. */
  path: string;
  file: File;
}

/** Directories are read at once, in batches as the browser gives them; one that holds no file leaves no trace. */
export async function filesIn(entries: FileSystemEntry[]): Promise<IArrival[]> {
  const found: IArrival[] = [];
  for (const entry of entries) {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      found.push({ path: entry.fullPath.replace(/^\//, ''), file });
    } else if (entry.isDirectory) {
      found.push(...(await filesIn(await entriesOf(entry as FileSystemDirectoryEntry))));
    }
  }
  return found;
}

async function entriesOf(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) {
      return all;
    }
    all.push(...some);
  }
}

/** What is dropped; to be called while the event lasts, for the browser forgets it then. */
export async function arrivalsIn(transfer: DataTransfer): Promise<IArrival[]> {
  const entries: FileSystemEntry[] = [];
  const plain: IArrival[] = [];
  for (const item of transfer.items) {
    const entry = item.webkitGetAsEntry();
    const file = entry ? null : item.getAsFile(); // of a page, not of a file manager
    if (entry) {
      entries.push(entry);
    } else if (file) {
      plain.push({ path: file.name, file });
    }
  }
  return [...plain, ...(await filesIn(entries))];
}

/** What a file chooser gave; of a directory each file knows its path. */
export function arrivalsOf(files: FileList | null): IArrival[] {
  return [...(files ?? [])].map(file => ({ path: file.webkitRelativePath || file.name, file }));
}
