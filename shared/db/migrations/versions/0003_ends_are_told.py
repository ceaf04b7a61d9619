"""Ends are told: whoever listens on `job_ended` hears of each job's end when it is committed."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE FUNCTION tell_job_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('job_ended', NEW.id::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER tell_job_ended AFTER UPDATE OF status ON jobs FOR EACH ROW
        WHEN (NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
        EXECUTE FUNCTION tell_job_ended()
        """
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER tell_job_ended ON jobs")
    op.execute("DROP FUNCTION tell_job_ended")
