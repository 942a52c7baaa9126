-- What untrusted clients have shown and may see. Column meanings:
-- docs/formats/proof.md.

create table if not exists Keys (
    id           integer primary key not null,
    name         text unique not null,
    storedBytes  integer not null default 0,
    textBytes    integer not null default 0,
    buildSeconds integer not null default 0
);

-- Verified texts of derivations, by their SHA-256.
create table if not exists Texts (
    id   integer primary key not null,
    hash blob unique not null,
    text blob not null
);

-- Which key has shown which text; no other key learns that it is here.
create table if not exists KnownTexts (
    id   integer primary key autoincrement not null,
    key  integer not null references Keys(id) on delete cascade,
    text integer not null references Texts(id) on delete cascade,
    unique (key, text)
);

create index if not exists IndexKnownText on KnownTexts(text);

-- Which key may see which path, in the registration that it had then.
create table if not exists Views (
    key        integer not null references Keys(id) on delete cascade,
    path       text not null,
    registered integer not null,
    charged    integer not null,
    primary key (key, path)
) without rowid;
