-- What the command was held to that a decision let run: JSON, or '' for none.
ALTER TABLE decision ADD COLUMN sandbox TEXT NOT NULL DEFAULT '';

-- A record is found by its id when its command starts.
CREATE INDEX decision_id ON decision (id);
