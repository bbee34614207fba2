import type { Failure } from "./api";
import { formatAge, formatChange, formatClock, formatNumber, formatShare, formatTime } from "./format";
import { formatMoney, formatShortMoney, type Money } from "./money";
import { chooseLanguage, fill, isTextKey, type TextKey, texts } from "./texts";
import { TIME_ZONE } from "./zone";

/** What the reader has chosen on a page counts on all of them, and for the next visits. */
const REMEMBERED = "language";

let { language, locale } = chooseLanguage(navigator.languages, remembered());
const followers: (() => void)[] = [];

export function say(key: TextKey, values: Readonly<Record<string, string>> = {}): string {
  return fill(texts[language][key], values);
}

export const money = (value: Money): string => formatMoney(value, locale);
export const shortMoney = (value: Money): string => formatShortMoney(value, locale);
export const number = (value: number): string => formatNumber(value, locale);
/** A moment as the reader's own clocks show it. */
export const dateTime = (value: Date): string => formatTime(value, locale);
/** The same by the company's, on pages on which there are others of its times. */
export const companyTime = (value: Date): string => formatTime(value, locale, TIME_ZONE);
export const age = (seconds: number): string => formatAge(seconds, locale);
export const share = (part: number, whole: number): string => formatShare(part, whole, locale);
export const change = (from: number, to: number): string => formatChange(from, to, locale);

/** A time of the company's clocks, in the parts that are asked for. */
export const clock = (value: Date, parts: Intl.DateTimeFormatOptions): string => formatClock(value, locale, parts);

/** “1 sale”, “12 sales”. */
export function sales(count: number): string {
  const isOne = new Intl.PluralRules(locale).select(count) === "one";
  return say(isOne ? "sales.times.one" : "sales.times.other", { count: number(count) });
}

/** Is told when the reader chooses another language; the texts that the HTML names have changed by then. */
export function onLanguage(follow: () => void): void {
  followers.push(follow);
}

/** A licence that is newer than this build is called by its id. */
export function licenseName(license: string): string {
  const key = `license.${license}`;
  return isTextKey(key) ? say(key) : license;
}

export function explain(failure: Failure): string {
  switch (failure.kind) {
    case "refused": {
      // The services speak English. What a customer may meet is said in the customer's language.
      const key = `refused.${failure.problem?.split(":").at(-1) ?? ""}`;
      return isTextKey(key) ? say(key) : say("failure.refused", { reason: failure.reason });
    }
    case "unavailable":
      return failure.retryAfterSeconds === undefined
        ? say("failure.unavailable")
        : say("failure.unavailableFor", { seconds: number(failure.retryAfterSeconds) });
    case "broken":
    case "forbidden":
    case "missing":
    case "timeout":
    case "unauthenticated":
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

/** The notice why something is missing or old, as long as it is. */
export function writeFailure(notice: HTMLElement, failure: Failure | undefined, key: TextKey): void {
  notice.hidden = failure === undefined;
  write(notice, failure ? say(key, { reason: explain(failure) }) : "");
}

export function writeTime(element: HTMLTimeElement, time: Date, inWords: (value: Date) => string): void {
  element.dateTime = time.toISOString();
  write(element, inWords(time));
}

function speak(): void {
  document.documentElement.lang = language;
  translate(document);
  const other = part(document, "language", HTMLButtonElement);
  const name = say("language.other");
  other.ariaLabel = name;
  other.lang = language === "de" ? "en" : "de";
  write(other, name.slice(0, 2));
}

function remembered(): string | null {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null; // The reader's browser forbids storage.
  }
}

function remember(language: string): void {
  try {
    localStorage.setItem(REMEMBERED, language);
  } catch {
    // Then it lasts as long as the page.
  }
}

part(document, "language", HTMLButtonElement).addEventListener("click", () => {
  const chosen = language === "de" ? "en" : "de";
  ({ language, locale } = chooseLanguage(navigator.languages, chosen));
  remember(chosen);
  speak();
  for (const follow of followers) {
    follow();
  }
});
speak();
