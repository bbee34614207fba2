import { buyLicense, type Failure, type Receipt } from "./api";
import { offers } from "./catalogue";
import { keyFor, openKey, settle } from "./intentions";
import { explain, licenseName, money, number, part, say, translate, write, writeTime } from "./page";
import { isTextKey } from "./texts";

/** `interrupted`: the page was left or reloaded before an answer came. */
type Trouble = Failure | { kind: "interrupted" };

type Offer = { step: "offered" } | { step: "buying" } | { step: "failed"; trouble: Trouble };

interface State {
  offers: Map<string, Offer>;
  receipt: Receipt | undefined;
}

const state: State = {
  offers: new Map(
    offers.map(({ license }) => [
      license,
      openKey(license) === undefined ? { step: "offered" } : { step: "failed", trouble: { kind: "interrupted" } },
    ]),
  ),
  receipt: undefined,
};

const progress = part(document, "progress", HTMLElement);
const shop = part(document, "shop", HTMLElement);
const shopHeading = part(document, "shop-heading", HTMLElement);
const receiptSection = part(document, "receipt", HTMLElement);
const receiptHeading = part(document, "receipt-heading", HTMLElement);
const cards = new Map(offers.map(({ license, price }) => [license, addCard(license, money(price))]));

onFirstClick(part(receiptSection, "more", HTMLButtonElement), () => {
  state.receipt = undefined;
  update(state);
  shopHeading.focus();
});
update(state);

async function buy(license: string): Promise<void> {
  state.offers.set(license, { step: "buying" });
  update(state);

  const outcome = await buyLicense(license, keyFor(license));
  if (outcome.ok) {
    settle(license);
    state.offers.set(license, { step: "offered" });
    state.receipt = outcome.value;
    update(state);
    receiptHeading.focus();
  } else {
    state.offers.set(license, { step: "failed", trouble: outcome.failure });
    update(state);
    cards.get(license)?.button.focus();
  }
}

/** Brings the whole page in line with the state, whatever it showed before. */
function update({ offers, receipt }: State): void {
  const buying = [...offers.values()].some((offer) => offer.step === "buying");
  write(progress, buying ? say("shop.buying") : "");
  shop.hidden = receipt !== undefined;
  receiptSection.hidden = receipt === undefined;

  for (const [license, offer] of offers) {
    const card = cards.get(license);
    if (card !== undefined) {
      updateCard(card, license, offer, buying);
    }
  }
  if (receipt !== undefined) {
    write(part(receiptSection, "receipt-license", HTMLElement), licenseName(receipt.license));
    write(part(receiptSection, "receipt-price", HTMLElement), money(receipt.price));
    write(part(receiptSection, "receipt-position", HTMLElement), number(receipt.position));
    write(part(receiptSection, "receipt-id", HTMLElement), receipt.purchaseId);
    writeTime(part(receiptSection, "receipt-time", HTMLTimeElement), receipt.purchasedAt);
  }
}

interface Card {
  button: HTMLButtonElement;
  alert: HTMLElement;
  failure: HTMLElement;
}

function updateCard(card: Card, license: string, offer: Offer, disabled: boolean): void {
  card.button.disabled = disabled;
  card.button.classList.toggle("busy", offer.step === "buying");
  card.alert.hidden = offer.step !== "failed";
  switch (offer.step) {
    case "offered":
      write(card.button, say("shop.buy", { license: licenseName(license) }));
      break;
    case "buying":
      write(card.button, say("shop.buying"));
      break;
    case "failed":
      write(card.button, say("shop.again"));
      write(card.failure, offer.trouble.kind === "interrupted" ? say("failure.interrupted") : explain(offer.trouble));
      break;
  }
}

function addCard(license: string, price: string): Card {
  const card = part(document, "offer", HTMLTemplateElement).content.cloneNode(true) as DocumentFragment;
  translate(card);
  write(part(card, "name", HTMLElement), licenseName(license));
  write(part(card, "price", HTMLElement), price);
  const audience = `license.${license}.for`;
  write(part(card, "for", HTMLElement), isTextKey(audience) ? say(audience) : "");

  const button = part(card, "buy", HTMLButtonElement);
  onFirstClick(button, () => void buy(license));
  const parts = { button, alert: part(card, "alert", HTMLElement), failure: part(card, "failure", HTMLElement) };
  part(document, "offers", HTMLElement).append(card);
  return parts;
}

/**
 * Some people double-click everything. A purchase can be over before their second click, which then must not begin
 * another one on whatever has taken the button's place.
 */
function onFirstClick(button: HTMLButtonElement, act: () => void): void {
  button.addEventListener("click", (event) => {
    if (event.detail <= 1) {
      act();
    }
  });
}
