/** Types for what src/docs.ts uses of Swagger UI; the package has none. */

declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  type Preset = object;
  interface Options {
    dom_id: string;
    urls: { url: string; name: string }[];
    layout: "StandaloneLayout";
    presets: Preset[];
    plugins: { components: Record<string, () => null> }[];
    deepLinking: boolean;
    validatorUrl: string | null;
  }
  const SwaggerUi: { (options: Options): void; presets: { apis: Preset } };
  export default SwaggerUi;
}

declare module "swagger-ui-dist/swagger-ui-standalone-preset.js" {
  const StandalonePreset: object;
  export default StandalonePreset;
}
