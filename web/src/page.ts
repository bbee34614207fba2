import type { Failure } from "./client";
import { formatAge, formatChange, formatClock, formatNumber, formatShare, formatTime } from "./format";
import { formatMoney, formatShortMoney, type Money } from "./money";
import { chooseLanguage, fill, isTextKey, type TextKey, texts } from "./texts";
import { TIME_ZONE } from "./zone";

/** The selected language applies to all pages and to later visits. */
const STORAGE_KEY = "language";

let { language, locale } = chooseLanguage(navigator.languages, storedLanguage());
const listeners: (() => void)[] = [];

export function t(key: TextKey, values: Readonly<Record<string, string>> = {}): string {
  return fill(texts[language][key], values);
}

export const money = (value: Money): string => formatMoney(value, locale);
export const shortMoney = (value: Money): string => formatShortMoney(value, locale);
export const number = (value: number): string => formatNumber(value, locale);
/** A time in the reader's own time zone. */
export const dateTime = (value: Date): string => formatTime(value, locale);
/** A time in the company's time zone, for pages that show other company times. */
export const companyTime = (value: Date): string => formatTime(value, locale, TIME_ZONE);
export const age = (seconds: number): string => formatAge(seconds, locale);
export const share = (part: number, whole: number): string => formatShare(part, whole, locale);
export const change = (from: number, to: number): string => formatChange(from, to, locale);

/** The given parts of a time in the company's time zone. */
export const clock = (value: Date, parts: Intl.DateTimeFormatOptions): string => formatClock(value, locale, parts);

/** “1 sale”, “12 sales”. */
export function sales(count: number): string {
  const isOne = new Intl.PluralRules(locale).select(count) === "one";
  return t(isOne ? "sales.times.one" : "sales.times.other", { count: number(count) });
}

/** Called after the language changed; elements with `data-text` are already translated. */
export function onLanguageChange(listener: () => void): void {
  listeners.push(listener);
}

/** A licence that this build does not know is shown by its id. */
export function licenseName(license: string): string {
  const key = `license.${license}`;
  return isTextKey(key) ? t(key) : license;
}

export function explain(failure: Failure): string {
  switch (failure.kind) {
    case "refused": {
      // The services answer in English. Problems that customers can run into are translated.
      const key = `refused.${failure.problem?.split(":").at(-1) ?? ""}`;
      return isTextKey(key) ? t(key) : t("failure.refused", { reason: failure.reason });
    }
    case "unavailable":
      return failure.retryAfterSeconds === undefined
        ? t("failure.unavailable")
        : t("failure.unavailableFor", { seconds: number(failure.retryAfterSeconds) });
    case "broken":
    case "forbidden":
    case "missing":
    case "timeout":
    case "unauthenticated":
    case "unreachable":
      return t(`failure.${failure.kind}`);
  }
}

/** Translates every element below `root` that has a text key: `data-text="shop.heading"`. */
export function translate(root: Document | DocumentFragment): void {
  for (const element of root.querySelectorAll<HTMLElement>("[data-text]")) {
    element.textContent = t(textKey(element.dataset["text"]));
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-label]")) {
    element.ariaLabel = t(textKey(element.dataset["label"]));
  }
}

function textKey(key = ""): TextKey {
  if (!isTextKey(key)) {
    throw new Error(`Unknown text key in the page: ${key}`);
  }
  return key;
}

/** The element with this `data-part`. A page without it does not match its script. */
export function part<E extends HTMLElement>(root: ParentNode, name: string, type: new () => E): E {
  const element = root.querySelector(`[data-part="${name}"]`);
  if (!(element instanceof type)) {
    throw new Error(`The page has no part ${name}`);
  }
  return element;
}

/** Sets a text only if it changed, so screen readers do not announce it again. */
export function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Shows or hides the notice that something is missing or outdated, with the reason. */
export function writeFailure(notice: HTMLElement, failure: Failure | undefined, key: TextKey): void {
  notice.hidden = failure === undefined;
  write(notice, failure ? t(key, { reason: explain(failure) }) : "");
}

export function writeTime(element: HTMLTimeElement, time: Date, format: (value: Date) => string): void {
  element.dateTime = time.toISOString();
  write(element, format(time));
}

function applyLanguage(): void {
  document.documentElement.lang = language;
  translate(document);
  const other = part(document, "language", HTMLButtonElement);
  const name = t("language.other");
  other.ariaLabel = name;
  other.lang = language === "de" ? "en" : "de";
  write(other, name.slice(0, 2));
}

function storedLanguage(): string | null {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null; // The browser blocks storage.
  }
}

function storeLanguage(language: string): void {
  try {
    localStorage.setItem(STORAGE_KEY, language);
  } catch {
    // The choice then lasts as long as the page.
  }
}

part(document, "language", HTMLButtonElement).addEventListener("click", () => {
  const chosen = language === "de" ? "en" : "de";
  ({ language, locale } = chooseLanguage(navigator.languages, chosen));
  storeLanguage(chosen);
  applyLanguage();
  for (const listener of listeners) {
    listener();
  }
});
applyLanguage();
