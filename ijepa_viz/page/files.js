// The page's files: beside it, or, of the single file, inside it.

// Of the single file: {name: text of scripts and JSON, base64 of anything else}; null where the files lie beside the page.
export const inlined = () => globalThis.ijepaFiles ?? null;

async function open(name) {
  const held = inlined()?.[name];
  if (typeof held === "string") {
    return new Response(name.endsWith(".json") ? held : Uint8Array.from(atob(held), (c) => c.charCodeAt(0)));
  }
  const reply = await fetch(new URL(name, document.baseURI));
  if (!reply.ok) throw new Error(`${name} is missing beside this page (status ${reply.status}): copy the whole folder.`);
  return reply;
}

export const readJSON = async (name) => (await open(name)).json();
export const readBitmap = async (name) => createImageBitmap(await (await open(name)).blob());
