import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plugin } from "vite";

/** Puts the text of a file where the HTML asks for it with `data-include`: what a page shows is then what is tested. */
export function includeFiles(): Plugin {
  let root = "";
  return {
    name: "include-files",
    configResolved: (config) => {
      root = config.root;
    },
    transformIndexHtml: {
      order: "pre",
      handler: async (html) => {
        const asked = [...html.matchAll(/(<code [^>]*data-include="([^"]+)"[^>]*>)(<\/code>)/g)];
        const files = await Promise.all(asked.map(([, , path = ""]) => readFile(join(root, path), "utf8")));
        return asked.reduce(
          (page, [place, before, , after], index) =>
            page.replace(place, () => `${before ?? ""}${escaped(files[index] ?? "")}${after ?? ""}`),
          html,
        );
      },
    },
  };
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
