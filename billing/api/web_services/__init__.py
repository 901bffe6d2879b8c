"""Web services in the shapes that billers' older systems call: SOAP 1.1 and 1.2, and form posts (MSP-29, MSP-34).

``services`` says which operations there are; ``envelopes`` reads and writes their messages; ``descriptions`` makes the
WSDL; ``views`` lets a caller in and answers. What an operation does is what the REST call beside it does.
"""
