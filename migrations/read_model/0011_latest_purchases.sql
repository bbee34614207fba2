-- The newest purchases as one row per generation, in place of a row per purchase: a batch of events updates one row instead of up to 100,
-- and a reader takes the list together with the totals.
--
-- `latest_purchase` stays for services of the release before, which use it while they are replaced one by one. A list that such a
-- projector has not continued is replaced by the next batch: `purchase_count` tells.
--
-- The lists are compressed within the row until four rows fit into a page: then each update finds space where it is. Measured with rows of
-- half a page: every other update went to a new page, which only vacuum empties.
create table latest_purchases (
    generation bigint not null,
    purchase_count bigint not null,
    positions bigint[] storage main not null,
    purchased_at timestamptz[] storage main not null,
    licenses text[] storage main not null,
    amounts_minor bigint[] storage main not null,
    currencies text[] storage main not null,
    constraint latest_purchases_key primary key (generation),
    constraint latest_purchases_generation_exists foreign key (generation) references projection on delete cascade,
    constraint latest_purchases_count_not_negative check (purchase_count >= 0),
    constraint latest_purchases_at_most_100 check (cardinality(positions) <= 100),
    constraint latest_purchases_lists_are_equally_long check (
        cardinality(purchased_at) = cardinality(positions) and cardinality(licenses) = cardinality(positions)
        and cardinality(amounts_minor) = cardinality(positions) and cardinality(currencies) = cardinality(positions)
    )
) with (toast_tuple_target = 1900);

comment on table latest_purchases is 'The newest purchases, at most 100, including those before the last reset. Each list has the newest first.';
comment on column latest_purchases.generation is 'Generation of the read model to which the purchases belong.';
comment on column latest_purchases.purchase_count is 'Number of purchases in the log up to the newest of the list.';
comment on column latest_purchases.positions is 'Log positions of the purchases.';
comment on column latest_purchases.purchased_at is 'When the purchases were recorded.';
comment on column latest_purchases.licenses is 'The licences: basic, pro or enterprise.';
comment on column latest_purchases.amounts_minor is 'Prices in minor units of the currency (cents).';
comment on column latest_purchases.currencies is 'ISO 4217 codes of the currencies.';

insert into latest_purchases (generation, purchase_count, positions, purchased_at, licenses, amounts_minor, currencies)
select
    generation, purchase_count, array_agg(latest.position order by latest.position desc),
    array_agg(purchased_at order by latest.position desc), array_agg(license order by latest.position desc),
    array_agg(amount_minor order by latest.position desc), array_agg(currency order by latest.position desc)
from projection join latest_purchase as latest using (generation)
group by generation;

grant select, insert, update, delete on latest_purchases to projector;
grant select on latest_purchases to query_api, auditor;
