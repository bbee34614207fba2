import "swagger-ui-dist/swagger-ui.css";
import "./docs.css";
import SwaggerUi from "swagger-ui-dist/swagger-ui-es-bundle.js";
import StandalonePreset from "swagger-ui-dist/swagger-ui-standalone-preset.js";

SwaggerUi({
  dom_id: "#swagger-ui",
  urls: [
    { url: "/docs/command-api.json", name: "command-api" },
    { url: "/docs/query-api.json", name: "query-api" },
  ],
  layout: "StandaloneLayout",
  presets: [SwaggerUi.presets.apis, StandalonePreset],
  // The logo brings an inline style, the only one there is: without it the page keeps to the same strict policy.
  plugins: [{ components: { Logo: () => null } }],
  deepLinking: true,
  // Swagger UI would send the documents to a service of its makers.
  validatorUrl: null,
});
