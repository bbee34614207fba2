//! What a buyer is given: made from the purchase's event alone, so that it is the same whenever it is asked for.

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
    /// Number of the purchase. When the `Idempotency-Key` was a UUID, it is that UUID.
    #[schema(value_type = uuid::Uuid)]
    pub purchase_id: EventId,
    /// Place of the purchase in the event log; `min_position` of a later query waits for it.
    pub position: Position,
    pub license: License,
    pub price: Money,
    pub purchased_at: DateTime<Utc>,
}

impl Receipt {
    pub fn new(id: EventId, position: Position, purchased_at: DateTime<Utc>, purchase: &LicensePurchased) -> Self {
        Self { purchase_id: id, position, license: purchase.license, price: purchase.price, purchased_at }
    }

    /// The address under which the receipt can be read again.
    pub fn location(&self) -> String {
        format!("/api/purchases/{}", self.purchase_id)
    }
}
