/* Runs first in each page of an app that has no origin (see app_proxy.py). There reading `localStorage` throws, and many
   apps end with that. So they get one that lasts as long as the page. Nor is there any address of a page's own origin, of
   which a worker's script must be. So one that is made by the page itself loads it. */
(() => {
  try {
    void window.localStorage;
    return; // it has an origin after all
  } catch {
    // none
  }
  const storage = () => {
    const items = new Map();
    const methods = {
      getItem: name => items.get(String(name)) ?? null,
      setItem: (name, value) => void items.set(String(name), String(value)),
      removeItem: name => void items.delete(String(name)),
      clear: () => items.clear(),
      key: index => [...items.keys()][index] ?? null
    };
    return new Proxy(methods, {
      get: (_, name) => (name === 'length' ? items.size : (methods[name] ?? items.get(name))),
      set: (_, name, value) => Boolean(items.set(name, String(value))),
      has: (_, name) => name in methods || items.has(name),
      deleteProperty: (_, name) => items.delete(name) || true,
      ownKeys: () => [...items.keys()],
      getOwnPropertyDescriptor: (_, name) =>
        items.has(name) ? { value: items.get(name), configurable: true, enumerable: true, writable: true } : undefined
    });
  };
  for (const name of ['localStorage', 'sessionStorage']) {
    Object.defineProperty(window, name, { value: storage(), configurable: true });
  }
  const cookies = new Map();
  Object.defineProperty(document, 'cookie', {
    get: () => [...cookies].map(([name, value]) => `${name}=${value}`).join('; '),
    set: text => {
      const [name, ...value] = text.split(';')[0].split('=');
      cookies.set(name.trim(), value.join('=').trim());
    },
    configurable: true
  });
  const OfOwnOrigin = window.Worker;
  window.Worker = class Worker extends OfOwnOrigin {
    constructor(address, options) {
      const whole = new URL(address, document.baseURI).href;
      const loaded = new Blob([`importScripts(${JSON.stringify(whole)})`], { type: 'text/javascript' });
      const isMade = options?.type === 'module' || !/^https?:/.test(whole);
      super(isMade ? whole : URL.createObjectURL(loaded), options);
    }
  };
})();
