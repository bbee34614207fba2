/** Numbers and times as readers of `locale` write them. */
import { TIME_ZONE } from "./zone";

/** Formats are costly to make and used again every second: each is made once. */
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

/** A time by itself names its zone; it is the reader's own, unless another one is asked for. It fits into a line of a phone. */
export function formatTime(time: Date, locale: string, timeZone?: string): string {
  return timeFormat(locale, { dateStyle: "medium", timeStyle: "long", ...(timeZone !== undefined && { timeZone }) }).format(time);
}

/** A time of the company's clocks. */
export function formatClock(time: Date, locale: string, parts: Intl.DateTimeFormatOptions): string {
  return timeFormat(locale, { ...parts, timeZone: TIME_ZONE }).format(time);
}

/** “12 seconds ago”, in the largest unit of which at least two have passed. */
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

/** “25 %”, in whole percents; nothing is a share of nothing. */
export function formatShare(part: number, whole: number, locale: string): string {
  return numberFormat(locale, { style: "percent" }).format(whole === 0 ? 0 : part / whole);
}

/** “+12 %” */
export function formatChange(from: number, to: number, locale: string): string {
  return numberFormat(locale, { style: "percent", signDisplay: "exceptZero" }).format(to / from - 1);
}
