import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Ajv } from "ajv";
import { expect, test } from "vitest";

const read = (path: string): object => JSON.parse(readFileSync(path, "utf8")) as object;

test("the description of the events is an AsyncAPI 3.0 document", () => {
  // The schema of the specification, which includes its meta-schema.
  const specification = createRequire(import.meta.url).resolve("@asyncapi/specs/schemas/3.0.0.json");
  const ajv = new Ajv({ strict: false, meta: false, validateSchema: false, validateFormats: false, allErrors: true });
  const validate = ajv.compile(read(specification));
  const document = read(fileURLToPath(new URL("../../shared/contract/asyncapi.json", import.meta.url)));
  validate(document);
  expect(validate.errors ?? []).toEqual([]);
  expect(validate({ ...document, channels: { events: { adress: "sales.events.{type}" } } })).toBe(false);
});
