import catalogue from "../../shared/contract/catalogue.json";
import type { License } from "./client";
import type { Money } from "./money";

/** The offers, from the file that the services read too: the only place where prices are defined. */
export const offers = catalogue as readonly { license: License; price: Money }[];

/** The display order of licences. A licence that this build does not know comes last. */
export function catalogueOrder(a: string, b: string): number {
  return rank(a) - rank(b);
}

function rank(license: string): number {
  const index = offers.findIndex((offer) => offer.license === license);
  return index === -1 ? offers.length : index;
}
