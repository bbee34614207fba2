import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Plugin } from "vite";

/** Inserts files into elements with `data-include`, so the programs on the page are the ones under test. */
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
