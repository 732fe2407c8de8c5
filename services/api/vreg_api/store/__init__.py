"""The database: tables, transactions, migrations and the outbox; only store modules import sqlalchemy."""
