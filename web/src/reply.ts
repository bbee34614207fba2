/** Reads a reply whose shape nobody has promised yet: each reader returns what it names, or throws `Unreadable`. */
export class Unreadable extends Error {}

export type Fields = Readonly<Record<string, unknown>>;

export function object(value: unknown, name: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Unreadable(`${name} is not an object`);
  }
  return value as Fields;
}

export function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string" || value === "") {
    throw new Unreadable(`${name} is not a text`);
  }
  return value;
}

/** A whole number that arrived exactly: one beyond 2^53 was rounded on the way and is refused. */
export function integer(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new Unreadable(`${name} is not an exact whole number`);
  }
  return value;
}

export function time(fields: Fields, name: string): Date {
  const value = new Date(text(fields, name));
  if (Number.isNaN(value.getTime())) {
    throw new Unreadable(`${name} is not a time`);
  }
  return value;
}
