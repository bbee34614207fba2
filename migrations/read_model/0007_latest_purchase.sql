-- The newest purchases, at most 100 per generation, written in the statement that advances the projection. Resets do not
-- remove them. A purchase replaces the row 100 purchases before it, so rows are updated in place and never deleted.
--
-- A generation from before this migration starts an empty list; `cargo stack rebuild` builds one with the whole list.
--
-- Readers take the list and the position that it reflects from one statement:
--
--     select generation, projection.position as reflected, latest_purchase.*
--     from projection left join latest_purchase using (generation)
--     where live order by latest_purchase.position desc
alter table projection add column purchase_count bigint not null default 0;
alter table projection add constraint projection_purchase_count_not_negative check (purchase_count >= 0);

comment on column projection.purchase_count is 'Number of purchases up to the position; resets do not lower it.';

create table latest_purchase (
    generation bigint not null,
    position bigint not null,
    purchased_at timestamptz not null,
    amount_minor bigint not null,
    slot smallint not null,
    license text not null,
    currency text not null,
    constraint latest_purchase_key primary key (generation, slot),
    constraint latest_purchase_generation_exists foreign key (generation) references projection on delete cascade,
    constraint latest_purchase_position_is_positive check (position > 0),
    constraint latest_purchase_slot_is_known check (slot between 0 and 99),
    constraint latest_purchase_currency_is_iso_4217 check (currency ~ '^[A-Z]{3}$')
) with (fillfactor = 50); -- one statement may update all rows, and no index holds the changed columns

comment on table latest_purchase is 'The newest purchases, at most 100, including those before the last reset.';
comment on column latest_purchase.generation is 'Generation of the read model to which the purchase belongs.';
comment on column latest_purchase.position is 'Log position of the purchase.';
comment on column latest_purchase.purchased_at is 'When the purchase was recorded.';
comment on column latest_purchase.amount_minor is 'Price in minor units of the currency (cents).';
comment on column latest_purchase.slot is 'Ordinal of the purchase in the log, from 0, modulo 100.';
comment on column latest_purchase.license is 'The licence: basic, pro or enterprise.';
comment on column latest_purchase.currency is 'ISO 4217 code of the currency.';

grant select, insert, update, delete on latest_purchase to projector;
grant select on latest_purchase to query_api, auditor;
