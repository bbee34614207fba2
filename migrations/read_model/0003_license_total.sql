-- The totals since the last reset, by licence.
create table license_total (
    generation bigint not null,
    license text not null,
    sales_count bigint not null default 0,
    revenue_minor bigint not null default 0,
    currency text not null,
    constraint license_total_key primary key (generation, license),
    constraint license_total_generation_exists foreign key (generation) references projection on delete cascade,
    constraint license_total_count_not_negative check (sales_count >= 0),
    constraint license_total_currency_is_iso_4217 check (currency ~ '^[A-Z]{3}$')
);

comment on table license_total is 'Number of sales and revenue since the last reset, per licence.';
comment on column license_total.generation is 'Generation of the read model to which the total belongs.';
comment on column license_total.license is 'The licence: basic, pro or enterprise.';
comment on column license_total.sales_count is 'How many were sold.';
comment on column license_total.revenue_minor is 'For how much, in minor units of the currency (cents).';
comment on column license_total.currency is 'ISO 4217 code of the currency.';

grant select, insert, update, delete on license_total to projector;
grant select on license_total to query_api, auditor;

insert into projection (live) values (true);
