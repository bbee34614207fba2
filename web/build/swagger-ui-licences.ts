import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Plugin } from "vite";

const folder = createRequire(import.meta.url).resolve("swagger-ui-dist/package.json");

/** Ships the licences of Swagger UI, and of what it contains, beside the page that it draws, as they ask for. */
export function swaggerUiLicences(): Plugin {
  return {
    name: "swagger-ui-licences",
    apply: "build",
    generateBundle() {
      const parts = [
        "NOTICE",
        "LICENSE",
        "swagger-ui-es-bundle.js.LICENSE.txt",
        "swagger-ui-standalone-preset.js.LICENSE.txt",
      ].map((name) => readFileSync(new URL(name, `file://${folder}`), "utf8").trim());
      this.emitFile({ type: "asset", fileName: "docs/swagger-ui-licences.txt", source: `${parts.join("\n\n")}\n` });
    },
  };
}
