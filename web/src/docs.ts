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
  // The logo has the only inline style, which the content security policy forbids.
  plugins: [{ components: { Logo: () => null } }],
  deepLinking: true,
  // By default, Swagger UI sends the documents to its makers.
  validatorUrl: null,
});
