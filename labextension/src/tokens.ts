/** What the plugins of this extension share. */

import { Token } from '@lumino/coreutils';

import { KernelStatuses, Sessions } from './model';

export const NAME = '@bai-jupyter/labextension';

/** The id of the tab with the file browser of folders. */
export const BROWSER_TAB = 'bai-file-browser';

/** Ids of commands; every action of a panel is also one of these. */
export namespace CommandIDs {
  export const showPanel = 'bai:show-panel';
  export const browseFolders = 'bai:browse-folders';
  export const copyToFolder = 'bai:copy-to-folder';
  export const copyToServer = 'bai:copy-to-server';
  export const moveToFolder = 'bai:move-to-folder';
  export const moveToServer = 'bai:move-to-server';
  export const downloadZip = 'bai:download-zip';
  export const refresh = 'bai:refresh-sessions';
  export const resources = 'bai:resources';
  export const showUsage = 'bai:show-usage';
  export const showAdmin = 'bai:show-admin';
  export const showAccount = 'bai:show-account';
  export const showEnvironments = 'bai:show-environments';
  export const importFromUrl = 'bai:import-from-url';
  export const runOnCluster = 'bai:run-on-cluster';
  export const runFileOnCluster = 'bai:run-file-on-cluster';
  export const showSession = 'bai:show-session';
  export const showOwnSession = 'bai:show-own-session';
  export const endSession = 'bai:end-session';
  export const endSessions = 'bai:end-sessions';
  export const useAgain = 'bai:use-again';
  export const extendSession = 'bai:extend-session';
  export const restartSession = 'bai:restart-session';
  export const renameSession = 'bai:rename-session';
  export const commitSession = 'bai:commit-session';
  export const commitKernel = 'bai:save-kernel-as-environment';
  export const showLog = 'bai:show-log';
  export const openTerminal = 'bai:open-terminal';
  export const suspendSession = 'bai:suspend-session';
  export const resumeSession = 'bai:resume-session';
  export const attachFolder = 'bai:attach-folder';
  export const saveVariables = 'bai:save-variables';
  export const wakeKernel = 'bai:wake-kernel';
  export const keepLonger = 'bai:keep-longer';
  export const showOwnLog = 'bai:show-own-log';
}

/** Shows a directory in Lab's file browser: a folder's name in the drive, and what is below; by default all folders. */
export type Browse = (path?: string) => Promise<void>;

export const IBrowse = new Token<Browse | null>(
  `${NAME}:IBrowse`,
  'Shows a directory of a folder in a file browser; nothing where there is none.'
);

export const ISessions = new Token<Sessions>(
  `${NAME}:ISessions`,
  "The user's Backend.AI sessions, kept fresh while somebody looks."
);

export const IKernelStatuses = new Token<KernelStatuses>(
  `${NAME}:IKernelStatuses`,
  'What each kernel on Backend.AI is doing, or waits for.'
);
