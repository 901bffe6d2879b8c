"""The customer portal's pages about texts: pay by text, its terms, and the links that texts hold."""
