/**
 * Reads a reply. Its type is what the service's description promises, so that a name or a type that the service changes
 * no longer compiles; nothing of it is believed before it was read: each reader returns what it names, or throws
 * `Unreadable`.
 */
export class Unreadable extends Error {}

/** What is always there. */
type Named<T, V> = { [K in keyof T & string]-?: T[K] extends V ? K : never }[keyof T & string];
/** What may be missing, or null. */
type Optional<T, V> = {
  [K in keyof T & string]-?: T[K] extends V ? never : NonNullable<T[K]> extends V ? K : never;
}[keyof T & string];
type Value<T> = T[keyof T];
type Item<T> = T extends readonly (infer I)[] ? I : never;

export class Reply<T> {
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(value: unknown, name: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new Unreadable(`${name} is not an object`);
    }
    this.#fields = value as Readonly<Record<string, unknown>>;
  }

  text(name: Named<T, string>): string {
    const value = this.#fields[name];
    if (typeof value !== "string" || value === "") {
      throw new Unreadable(`${name} is not a text`);
    }
    return value;
  }

  /** A text that may be missing, or null. */
  textIfAny(name: Optional<T, string>): string | undefined {
    const value = this.#fields[name];
    return typeof value === "string" ? value : undefined;
  }

  texts(name: Named<T, readonly string[]>): string[] {
    const values = this.#fields[name];
    if (!Array.isArray(values) || !values.every((value) => typeof value === "string")) {
      throw new Unreadable(`${name} is not a list of texts`);
    }
    return values;
  }

  /** A whole number that arrived exactly: one beyond 2^53 was rounded on the way and is refused. */
  integer(name: Named<T, number>): number {
    const value = this.#fields[name];
    if (typeof value !== "number" || !Number.isSafeInteger(value)) {
      throw new Unreadable(`${name} is not an exact whole number`);
    }
    return value;
  }

  time(name: Named<T, string>): Date {
    const value = new Date(this.text(name));
    if (Number.isNaN(value.getTime())) {
      throw new Unreadable(`${name} is not a time`);
    }
    return value;
  }

  object<K extends Named<T, object>>(name: K): Reply<T[K]> {
    return new Reply(this.#fields[name], name);
  }

  list<K extends Named<T, readonly object[]>>(name: K): Reply<Item<T[K]>>[] {
    const values = this.#fields[name];
    if (!Array.isArray(values)) {
      throw new Unreadable(`${name} is not a list`);
    }
    return values.map((value) => new Reply(value, name));
  }

  /** The same, where no more than `U` matters. */
  as<U>(this: T extends U ? Reply<T> : never): Reply<U> {
    return this as unknown as Reply<U>;
  }

  /** An object that is used as a map. */
  map<K extends Named<T, object>>(name: K): [string, Reply<Value<T[K]>>][] {
    const values = this.object(name).#fields;
    return Object.entries(values).map(([key, value]) => [key, new Reply(value, key)]);
  }
}

/** An address that a browser may be sent to: one of the web, and never a script. */
export function webAddress(value: string): URL {
  const address = URL.canParse(value) ? new URL(value) : undefined;
  if (address?.protocol !== "https:" && address?.protocol !== "http:") {
    throw new Unreadable("an address is not one of the web");
  }
  return address;
}
