"""MultiSpeak 3.0 over SOAP 1.1, as Daffron-Milsoft's CB_Server speaks it."""
