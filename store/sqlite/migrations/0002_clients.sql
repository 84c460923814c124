-- What clients show of a session beside its title; each is JSON, or '' for
-- none.
ALTER TABLE session ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN restrictions TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN revert TEXT NOT NULL DEFAULT '';

-- How many equal decisions a record stands for.
ALTER TABLE decision ADD COLUMN count INTEGER NOT NULL DEFAULT 1;
