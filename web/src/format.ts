/** Numbers and times as readers of `locale` write them. */

export function formatNumber(value: number, locale: string): string {
  return new Intl.NumberFormat(locale).format(value);
}

export function formatTime(time: Date, locale: string): string {
  return new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "medium" }).format(time);
}

/** “12 seconds ago”, in the largest unit of which at least two have passed. */
export function formatAge(seconds: number, locale: string): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
  if (seconds < 120) {
    return format.format(-Math.round(seconds), "second");
  }
  if (seconds < 7200) {
    return format.format(-Math.floor(seconds / 60), "minute");
  }
  return format.format(-Math.floor(seconds / 3600), "hour");
}
