import os, contextlib
def secret(name, make): return "dev"
def database_url(): return os.environ.get("DATABASE_URL","postgres://x@localhost/x")
def redis_url(): return os.environ.get("REDIS_URL","redis://localhost/0")
@contextlib.contextmanager
def services():
    yield
