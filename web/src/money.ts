import { numberFormat } from "./format";

/** An amount in the currency's smallest unit, such as cents, and the currency's ISO 4217 code. */
export interface Money {
  amount_minor: number;
  currency: string;
}

/**
 * Writes money the way readers of `locale` do. The decimal point is set by moving digits, not by dividing: `Intl`
 * reads the decimal text exactly, so no amount ever passes through a fraction that a float cannot hold.
 */
export function formatMoney(money: Money, locale: string): string {
  const format = numberFormat(locale, { style: "currency", currency: money.currency });
  const minorDigits = format.resolvedOptions().maximumFractionDigits ?? 0;
  return format.format(toDecimal(money.amount_minor, minorDigits));
}

/** `toDecimal(-5, 2)` is `"-0.05"`. */
export function toDecimal(amountMinor: number, minorDigits: number): Intl.StringNumericLiteral {
  const sign = amountMinor < 0 ? "-" : "";
  const digits = String(Math.abs(amountMinor)).padStart(minorDigits + 1, "0");
  const point = digits.length - minorDigits;
  const fraction = minorDigits === 0 ? "" : `.${digits.slice(point)}`;
  // Digits with a point between them are a numeric literal; the compiler cannot see that.
  return `${sign}${digits.slice(0, point)}${fraction}` as Intl.StringNumericLiteral;
}

/** The same, short enough for the axis of a chart: “1.2K €”. */
export function formatShortMoney(money: Money, locale: string): string {
  const { currency } = money;
  const minorDigits = numberFormat(locale, { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  const format = numberFormat(locale, { style: "currency", currency, notation: "compact" });
  return format.format(toDecimal(money.amount_minor, minorDigits ?? 0));
}
