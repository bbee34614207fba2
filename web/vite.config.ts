import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { includeFiles } from "./build/include-files.ts";
import { licences } from "./build/licences.ts";
import { precompress } from "./build/precompress.ts";

/**
 * Lets the browser paint when the page's script has filled in the texts, so that no page appears without its words.
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
    // A data: address would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Swagger UI alone is larger than Vite's default; no other chunk comes near.
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
    fs: { allow: [".", "../shared/catalogue.json"] },
    // `npm run dev` serves the pages and asks a running stack for everything else.
    proxy: {
      "/api": process.env["SALES_URL"] ?? "http://localhost:8000",
      "^/docs/.*\\.json$": process.env["SALES_API_URL"] ?? "http://sales.localhost:8000",
    },
  },
});
