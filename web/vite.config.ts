import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { includeFiles } from "./build/include-files.ts";
import { licences } from "./build/licences.ts";
import { precompress } from "./build/precompress.ts";

/**
 * Delays the first paint until the page's script has filled in the texts.
 * https://html.spec.whatwg.org/#blocking-attributes
 */
const paintOnceTranslated: Plugin = {
  name: "paint-once-translated",
  apply: "build",
  transformIndexHtml: {
    order: "post",
    handler: (html) =>
      html.includes("data-text") ? html.replace('<script type="module"', '$& blocking="render"') : html,
  },
};

const page = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  plugins: [includeFiles(), paintOnceTranslated, licences(), precompress()],
  build: {
    // The content security policy forbids data: addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Only Swagger UI exceeds Vite's default.
    chunkSizeWarningLimit: 2000,
    rolldownOptions: {
      input: {
        shop: page("index.html"),
        sales: page("sales.html"),
        verify: page("verify.html"),
        docs: page("docs/index.html"),
      },
    },
  },
  server: {
    fs: { allow: [".", "../shared/contract/catalogue.json"] },
    // `npm run dev` serves the pages and forwards everything else to a running stack.
    proxy: {
      "/api": process.env["SALES_URL"] ?? "http://localhost:8000",
      "^/docs/.*\\.json$": process.env["SALES_API_URL"] ?? "http://sales.localhost:8000",
    },
  },
});
