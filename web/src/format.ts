/** Numbers and times in the format of `locale`. */
import { TIME_ZONE } from "./zone";

/** Intl formats are expensive to create and used every second, so they are cached. */
function cached<O, F>(make: (locale: string, options: O) => F): (locale: string, options: O) => F {
  const made = new Map<string, F>();
  return (locale, options) => {
    const key = JSON.stringify([locale, options]);
    const format = made.get(key) ?? make(locale, options);
    made.set(key, format);
    return format;
  };
}

export const numberFormat = cached((locale, options: Intl.NumberFormatOptions) => new Intl.NumberFormat(locale, options));
const timeFormat = cached((locale, options: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(locale, options));
const ageFormat = cached(
  (locale, options: Intl.RelativeTimeFormatOptions) => new Intl.RelativeTimeFormat(locale, options),
);

export function formatNumber(value: number, locale: string): string {
  return numberFormat(locale, {}).format(value);
}

/** A time with its time zone, by default the reader's own. Fits on one line of a phone. */
export function formatTime(time: Date, locale: string, timeZone?: string): string {
  return timeFormat(locale, { dateStyle: "medium", timeStyle: "long", ...(timeZone !== undefined && { timeZone }) }).format(time);
}

/** A time in the company's time zone. */
export function formatClock(time: Date, locale: string, parts: Intl.DateTimeFormatOptions): string {
  return timeFormat(locale, { ...parts, timeZone: TIME_ZONE }).format(time);
}

/** “12 seconds ago”, in the largest unit that is at least 2. */
export function formatAge(seconds: number, locale: string): string {
  const format = ageFormat(locale, { numeric: "auto" });
  if (seconds < 120) {
    return format.format(-Math.round(seconds), "second");
  }
  if (seconds < 7200) {
    return format.format(-Math.floor(seconds / 60), "minute");
  }
  return format.format(-Math.floor(seconds / 3600), "hour");
}

/** “25 %”, rounded to whole percents. A share of zero is 0 %. */
export function formatShare(part: number, whole: number, locale: string): string {
  return numberFormat(locale, { style: "percent" }).format(whole === 0 ? 0 : part / whole);
}

/** “+12 %” */
export function formatChange(from: number, to: number, locale: string): string {
  return numberFormat(locale, { style: "percent", signDisplay: "exceptZero" }).format(to / from - 1);
}
