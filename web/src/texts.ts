/** Every word that the pages say. A text missing in one language does not compile. */

const de = {
  "nav.label": "Seiten",
  "nav.shop": "Lizenzen",
  "nav.sales": "Verkaufszahlen",

  "license.basic": "Basic",
  "license.pro": "Pro",
  "license.enterprise": "Enterprise",
  "license.basic.for": "Für eine Person.",
  "license.pro.for": "Für ein Team.",
  "license.enterprise.for": "Für ein ganzes Unternehmen.",

  "shop.title": "Lizenzen kaufen",
  "shop.heading": "Wählen Sie Ihre Lizenz",
  "shop.lead": "Drei Lizenzen, drei Preise. Die Quittung erhalten Sie sofort.",
  "shop.buy": "{license} kaufen",
  "shop.buying": "Wird gekauft …",
  "shop.again": "Erneut versuchen",
  "shop.once": "Wenn Sie es erneut versuchen, wird die Lizenz höchstens einmal gekauft.",

  "receipt.heading": "Vielen Dank für Ihren Kauf",
  "receipt.lead": "Das ist Ihre Quittung.",
  "receipt.license": "Lizenz",
  "receipt.price": "Preis",
  "receipt.time": "Gekauft am",
  "receipt.position": "Buchungsposition",
  "receipt.id": "Kaufnummer",
  "receipt.more": "Weitere Lizenz kaufen",

  "sales.title": "Verkaufszahlen",
  "sales.heading": "Verkaufszahlen",
  "sales.count": "Verkäufe",
  "sales.revenue": "Umsatz",
  "sales.byLicense": "Nach Lizenz",
  "sales.license": "Lizenz",
  "sales.asOf": "Stand",
  "sales.position": "Buchungsposition",
  "sales.checked": "Bestätigt",
  "message.loading": "Die Zahlen werden geladen …",
  "message.live": "Die Zahlen aktualisieren sich von selbst.",
  "message.empty": "Seit dem letzten Zurücksetzen wurde noch nichts verkauft.",
  "message.stale": "Die Zahlen sind veraltet: Neuere liegen noch nicht vor.",
  "message.offline": "Gerade nicht erreichbar. Sie sehen die zuletzt bekannten Zahlen.",
  "message.missing": "Gerade nicht erreichbar. Diese Seite versucht es weiter.",

  "health.loading": "Lädt",
  "health.live": "Live",
  "health.stale": "Veraltet",
  "health.offline": "Offline",

  "reset.open": "Zurücksetzen …",
  "reset.heading": "Verkaufszahlen zurücksetzen?",
  "reset.explanation":
    "Anzahl und Umsatz beginnen für alle wieder bei null. Die Käufe selbst bleiben gültig und gebucht.",
  "reset.cancel": "Abbrechen",
  "reset.confirm": "Zurücksetzen",
  "reset.again": "Erneut versuchen",
  "reset.underWay": "Wird zurückgesetzt …",
  "reset.done": "Zurückgesetzt am {time}.",

  "failure.unreachable": "Keine Verbindung. Bitte prüfen Sie Ihr Netz.",
  "failure.timeout": "Es kam rechtzeitig keine Antwort.",
  "failure.unavailable": "Der Dienst ist gerade nicht verfügbar.",
  "failure.unavailableFor": "Der Dienst ist gerade nicht verfügbar. Bitte warten Sie etwa {seconds} s.",
  "failure.refused": "Die Anfrage wurde abgelehnt: {reason}",
  "failure.broken": "Es kam eine Antwort, die diese Seite nicht versteht.",
  "failure.interrupted": "Dieser Kauf wurde unterbrochen, bevor die Quittung da war.",
};

export type TextKey = keyof typeof de;

const en: Record<TextKey, string> = {
  "nav.label": "Pages",
  "nav.shop": "Licences",
  "nav.sales": "Sales figures",

  "license.basic": "Basic",
  "license.pro": "Pro",
  "license.enterprise": "Enterprise",
  "license.basic.for": "For one person.",
  "license.pro.for": "For a team.",
  "license.enterprise.for": "For a whole company.",

  "shop.title": "Buy a licence",
  "shop.heading": "Choose your licence",
  "shop.lead": "Three licences, three prices. You get the receipt at once.",
  "shop.buy": "Buy {license}",
  "shop.buying": "Buying …",
  "shop.again": "Try again",
  "shop.once": "Trying again buys the licence once at most.",

  "receipt.heading": "Thank you for your purchase",
  "receipt.lead": "This is your receipt.",
  "receipt.license": "Licence",
  "receipt.price": "Price",
  "receipt.time": "Bought on",
  "receipt.position": "Ledger position",
  "receipt.id": "Purchase number",
  "receipt.more": "Buy another licence",

  "sales.title": "Sales figures",
  "sales.heading": "Sales figures",
  "sales.count": "Sales",
  "sales.revenue": "Revenue",
  "sales.byLicense": "By licence",
  "sales.license": "Licence",
  "sales.asOf": "As of",
  "sales.position": "Ledger position",
  "sales.checked": "Confirmed",
  "message.loading": "Loading the figures …",
  "message.live": "The figures update by themselves.",
  "message.empty": "Nothing has been sold since the last reset.",
  "message.stale": "The figures are out of date: newer ones are not there yet.",
  "message.offline": "Cannot be reached right now. You see the last known figures.",
  "message.missing": "Cannot be reached right now. This page keeps trying.",

  "health.loading": "Loading",
  "health.live": "Live",
  "health.stale": "Out of date",
  "health.offline": "Offline",

  "reset.open": "Reset …",
  "reset.heading": "Reset the sales figures?",
  "reset.explanation": "Number and revenue start from zero again for everyone. The purchases stay valid and on record.",
  "reset.cancel": "Cancel",
  "reset.confirm": "Reset",
  "reset.again": "Try again",
  "reset.underWay": "Resetting …",
  "reset.done": "Reset on {time}.",

  "failure.unreachable": "No connection. Please check your network.",
  "failure.timeout": "No answer came in time.",
  "failure.unavailable": "The service is not available right now.",
  "failure.unavailableFor": "The service is not available right now. Please wait about {seconds} s.",
  "failure.refused": "The request was declined: {reason}",
  "failure.broken": "An answer came that this page does not understand.",
  "failure.interrupted": "This purchase was interrupted before its receipt arrived.",
};

export const texts = { de, en };

export type Language = keyof typeof texts;

export function isTextKey(key: string): key is TextKey {
  return key in de;
}

/** The first of the reader's languages that the pages speak, and how that reader writes numbers and dates. */
export function chooseLanguage(preferred: readonly string[]): { language: Language; locale: string } {
  for (const locale of preferred) {
    const language = locale.toLowerCase().split("-")[0];
    if (language === "de" || language === "en") {
      return { language, locale };
    }
  }
  return { language: "en", locale: "en-GB" };
}

/** Puts values where a text names them: `{license} kaufen`. */
export function fill(text: string, values: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder);
}
