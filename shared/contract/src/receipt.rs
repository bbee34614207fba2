//! The receipt of a purchase: derived from its event alone, so that it never changes.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    catalogue::License,
    event::{EventId, LicensePurchased},
    money::Money,
    position::Position,
};

/// The receipt of a purchase.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct Receipt {
    /// Id of the purchase. If the `Idempotency-Key` was a UUID, it is that UUID.
    #[schema(value_type = uuid::Uuid)]
    pub purchase_id: EventId,
    /// Position of the purchase in the event log; `min_position` of a later query waits for it.
    pub position: Position,
    pub license: License,
    pub price: Money,
    pub purchased_at: DateTime<Utc>,
}

impl Receipt {
    pub fn new(id: EventId, position: Position, purchased_at: DateTime<Utc>, purchase: &LicensePurchased) -> Self {
        Self { purchase_id: id, position, license: purchase.license, price: purchase.price, purchased_at }
    }

    /// The path of the receipt.
    pub fn location(&self) -> String {
        format!("/api/purchases/{}", self.purchase_id)
    }
}
