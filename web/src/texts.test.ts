import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { offers } from "./catalogue";
import { chooseLanguage, fill, isTextKey, texts } from "./texts";

const root = new URL("../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), "utf8");
const pages = ["index.html", "sales.html", "verify.html"].map(read);

const placeholders = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();

test("both languages have every text, with the same placeholders", () => {
  expect(Object.keys(texts.en)).toEqual(Object.keys(texts.de));
  for (const [key, german] of Object.entries(texts.de)) {
    const english = texts.en[key as keyof typeof texts.en];
    expect(german, key).not.toBe("");
    expect(english, key).not.toBe("");
    expect(placeholders(english), key).toEqual(placeholders(german));
  }
});

test("every text key in a page is in the dictionary", () => {
  const named = pages.flatMap((page) => [...page.matchAll(/data-(?:text|label)="([^"]+)"/g)].map(([, key = ""]) => key));
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((key) => !isTextKey(key))).toEqual([]);
});

test("every text in the dictionary is used", () => {
  const scripts = readdirSync(new URL("src", root)).filter((name) => /(?<!\.test|^texts)\.ts$/.test(name));
  const everything = [...pages, ...scripts.map((name) => read(`src/${name}`))].join("\n");
  // Keys built at run time, such as `failure.${failure.kind}`.
  const families = ["license.", "failure.", "refused.", "signInFailure.", "health.", "message.", "proof.flaw."];
  const unused = Object.keys(texts.de).filter(
    (key) => !everything.includes(`"${key}"`) && !families.some((family) => key.startsWith(family)),
  );
  expect(unused).toEqual([]);
});

test("every licence in the catalogue has a name, an audience and a list of features", () => {
  for (const { license } of offers) {
    expect(isTextKey(`license.${license}`), license).toBe(true);
    expect(isTextKey(`license.${license}.audience`), license).toBe(true);
    expect(isTextKey(`license.${license}.features`), license).toBe(true);
  }
});

test("the first supported language of the browser is selected, with the browser's own number format", () => {
  expect(chooseLanguage(["fr-FR", "de-AT", "en-GB"])).toEqual({ language: "de", locale: "de-AT" });
  expect(chooseLanguage(["EN-us"])).toEqual({ language: "en", locale: "EN-us" });
  expect(chooseLanguage(["fr-FR"])).toEqual({ language: "en", locale: "en-GB" });
  expect(chooseLanguage([])).toEqual({ language: "en", locale: "en-GB" });
});

test("the reader's choice takes precedence, still with the browser's own number format", () => {
  expect(chooseLanguage(["de-AT", "en-US"], "en")).toEqual({ language: "en", locale: "en-US" });
  expect(chooseLanguage(["en-US"], "de")).toEqual({ language: "de", locale: "de-DE" });
  expect(chooseLanguage(["de-AT"], "tlh")).toEqual({ language: "de", locale: "de-AT" });
});

test("a placeholder is replaced by its value, and stays if there is none", () => {
  expect(fill("{license} kaufen", { license: "Pro" })).toBe("Pro kaufen");
  expect(fill("{license} kaufen", {})).toBe("{license} kaufen");
});
