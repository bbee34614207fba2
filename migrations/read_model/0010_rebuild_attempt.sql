-- A statement of a killed rebuild may arrive after another rebuild has resumed its generation. It then names an attempt that has ended,
-- and changes nothing.
alter table projection add column attempt integer not null default 0;

comment on column projection.attempt is 'How often a rebuild has resumed the generation. Only the newest attempt may advance it or make it live.';
