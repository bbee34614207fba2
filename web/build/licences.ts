import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Plugin } from "vite";

const require = createRequire(import.meta.url);

const SWAGGER_UI = [
  "NOTICE",
  "LICENSE",
  "swagger-ui-es-bundle.js.LICENSE.txt",
  "swagger-ui-standalone-preset.js.LICENSE.txt",
];

/** Ships the licences of the bundled packages with the pages, as they require. */
export function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const files = {
        "openapi-fetch-licence.txt": texts("openapi-fetch", ["LICENSE"]),
        "uplot-licence.txt": texts("uplot", ["LICENSE"]),
        "docs/swagger-ui-licences.txt": texts("swagger-ui-dist", SWAGGER_UI),
      };
      for (const [fileName, parts] of Object.entries(files)) {
        this.emitFile({ type: "asset", fileName, source: `${parts.join("\n\n")}\n` });
      }
    },
  };
}

function texts(name: string, files: readonly string[]): string[] {
  const folder = require.resolve(`${name}/package.json`);
  return files.map((file) => readFileSync(new URL(file, `file://${folder}`), "utf8").trim());
}
