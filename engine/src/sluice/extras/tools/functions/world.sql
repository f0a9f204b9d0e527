-- The world of world.py as it begins. A file that has it already keeps what it has.
CREATE TABLE IF NOT EXISTS releases (id TEXT PRIMARY KEY, state TEXT, weight INTEGER, reason TEXT, started TEXT);
CREATE TABLE IF NOT EXISTS tickets (id INTEGER PRIMARY KEY, title TEXT, release TEXT, state TEXT, key TEXT UNIQUE);
INSERT OR IGNORE INTO releases VALUES
  ('mango', 'live', 100, '', '2026-03-02'),
  ('quince', 'stopped', 0, 'Its answers became worse: 9 of 150 broke.', '2026-03-09'),
  ('plum', 'canary', 10, '', '2026-03-11');
INSERT OR IGNORE INTO tickets VALUES
  (1, 'Answers of quince lost their citations', 'quince', 'open', 'seed-1'),
  (2, 'First token of mango came late after the night', 'mango', 'closed', 'seed-2'),
  (3, 'Plum declines questions about budgets', 'plum', 'open', 'seed-3');
