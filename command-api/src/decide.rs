//! What a command leads to. Pure: no clock, no database.

use contract::{
    catalogue::{self, License},
    event::{Event, LicensePurchased, SalesReset},
};

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    Buy(License),
    ResetSales { reason: Option<String> },
}

/// The event that a command causes. The state of the log is no argument: both commands are always allowed, and the
/// time is set by the log, whose clock is the only one that all replicas share.
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
    fn a_licence_is_bought_at_its_price_in_the_catalogue() {
        for license in License::ALL {
            let Event::LicensePurchased(purchase) = decide(Command::Buy(license)) else {
                panic!("buying {} was not a purchase", license.name());
            };
            assert_eq!(purchase, LicensePurchased { license, price: catalogue::price(license) });
        }
    }

    #[test]
    fn a_reset_says_why_when_that_is_known() {
        for reason in [None, Some("new year".to_owned())] {
            let command = Command::ResetSales { reason: reason.clone() };
            assert_eq!(decide(command), Event::SalesReset(SalesReset { reason }));
        }
    }
}
