//! Commands and the events that they cause. Pure: no clock, no database.

use contract::{
    catalogue::{self, License},
    event::{Event, LicensePurchased, SalesReset},
};

/// A request to change something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    Buy(License),
    ResetSales { reason: Option<String> },
}

/// The event that a command causes. It does not depend on earlier events: both commands are always allowed. The log sets
/// the time, since its clock is the only one that all replicas share.
pub fn decide(command: Command) -> Event {
    match command {
        Command::Buy(license) => {
            Event::LicensePurchased(LicensePurchased { license, price: catalogue::price(license) })
        }
        Command::ResetSales { reason } => Event::SalesReset(SalesReset { reason }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_has_the_price_of_the_catalogue() {
        for license in License::ALL {
            let Event::LicensePurchased(purchase) = decide(Command::Buy(license)) else {
                panic!("buying {} was not a purchase", license.name());
            };
            assert_eq!(purchase, LicensePurchased { license, price: catalogue::price(license) });
        }
    }

    #[test]
    fn a_reset_records_its_reason() {
        for reason in [None, Some("new year".to_owned())] {
            let command = Command::ResetSales { reason: reason.clone() };
            assert_eq!(decide(command), Event::SalesReset(SalesReset { reason }));
        }
    }
}
