mod dockerfile;
mod imports;
mod proxy;
mod servers;
