"""What every store engine must do, whatever the database behind it."""
