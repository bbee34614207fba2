-- Events of all types but the one that nearly all events have, so that the few resets among millions of purchases are found
-- without reading the log. A purchase does not enter the index: all it costs is the comparison that says so.
create index event_rare_type on event (event_type, position) where event_type <> 'LicensePurchased';

comment on index event_rare_type is 'Events of every type but LicensePurchased, by type.';
