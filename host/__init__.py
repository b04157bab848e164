"""What a host and the machine agree on: registers, commands, beats; and a driver.  Needs no hardware library."""
