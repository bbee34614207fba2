import type { Failure } from "./api";
import { formatAge, formatNumber, formatTime } from "./format";
import { formatMoney, type Money } from "./money";
import { chooseLanguage, fill, isTextKey, type TextKey, texts } from "./texts";

const { language, locale } = chooseLanguage(navigator.languages);

export function say(key: TextKey, values: Readonly<Record<string, string>> = {}): string {
  return fill(texts[language][key], values);
}

export const money = (value: Money): string => formatMoney(value, locale);
export const number = (value: number): string => formatNumber(value, locale);
export const dateTime = (value: Date): string => formatTime(value, locale);
export const age = (seconds: number): string => formatAge(seconds, locale);

/** A licence that is newer than this build is called by its id. */
export function licenseName(license: string): string {
  const key = `license.${license}`;
  return isTextKey(key) ? say(key) : license;
}

export function explain(failure: Failure): string {
  switch (failure.kind) {
    case "refused":
      return say("failure.refused", { reason: failure.reason });
    case "unavailable":
      return failure.retryAfterSeconds === undefined
        ? say("failure.unavailable")
        : say("failure.unavailableFor", { seconds: number(failure.retryAfterSeconds) });
    case "broken":
    case "timeout":
    case "unreachable":
      return say(`failure.${failure.kind}`);
  }
}

/** Writes the reader's language into everything below `root` that names its text: `data-text="shop.heading"`. */
export function translate(root: Document | DocumentFragment): void {
  for (const element of root.querySelectorAll<HTMLElement>("[data-text]")) {
    element.textContent = say(textKey(element.dataset["text"]));
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-label]")) {
    element.ariaLabel = say(textKey(element.dataset["label"]));
  }
}

function textKey(key = ""): TextKey {
  if (!isTextKey(key)) {
    throw new Error(`The page names a text that does not exist: ${key}`);
  }
  return key;
}

/** The element that the HTML marks with `data-part`; the page and its script are written for each other. */
export function part<E extends HTMLElement>(root: ParentNode, name: string, type: new () => E): E {
  const element = root.querySelector(`[data-part="${name}"]`);
  if (!(element instanceof type)) {
    throw new Error(`The page lacks its part ${name}`);
  }
  return element;
}

/** Sets a text only when it differs, so that a screen reader is not told the same thing twice. */
export function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

export function writeTime(element: HTMLTimeElement, time: Date): void {
  element.dateTime = time.toISOString();
  write(element, dateTime(time));
}

document.documentElement.lang = language;
translate(document);
