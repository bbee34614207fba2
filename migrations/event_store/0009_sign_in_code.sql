-- Addresses that sign in hold a code instead of an access token, since browsers keep addresses in their history. A code is used once.
create table sign_in_code (
    code_hash bytea not null,
    encrypted_token bytea not null,
    expires_at timestamptz not null,
    constraint sign_in_code_hash_key primary key (code_hash),
    constraint sign_in_code_hash_is_sha256 check (octet_length(code_hash) = 32),
    constraint sign_in_code_token_is_no_longer_than_its_pad check (octet_length(encrypted_token) <= 64)
);

comment on table sign_in_code is 'One-time codes that sign in to the pages. Not a part of the log. Expired ones are deleted when the next code is made.';
comment on column sign_in_code.code_hash is 'SHA-256 of the code.';
comment on column sign_in_code.encrypted_token is 'The access token of the session, XOR the SHA-512 of the code.';
comment on column sign_in_code.expires_at is 'From this time on, the code is invalid.';

alter table sign_in_code owner to event_store_owner;
grant select, insert, delete on sign_in_code to query_api;
