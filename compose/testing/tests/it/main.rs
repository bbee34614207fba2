mod imports;
mod proxy;
mod servers;
